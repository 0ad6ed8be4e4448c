//! The `bowline-control` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Said plainly instead of pretended: the control plane is not part of this version.
    eprintln!("bowline-control: this version has no control plane yet.");
    eprintln!("Proxies run alone on a mesh file: bowline-proxy run --mesh mesh.yaml");
    ExitCode::FAILURE
}
