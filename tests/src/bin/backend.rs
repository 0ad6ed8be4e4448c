//! A backend in a process of its own, to be killed or stopped. It listens at the address that is its second argument,
//! prints it and answers every request with 200. The targets of POSTs are appended to the file that its first argument
//! names, before they are answered: they are read there even when the process is no more.

use std::fs::File;
use std::io::Write as _;

use bowline_tests::backend::{Backend, Reply};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let posts = File::create(arguments.next().expect("a file for POSTs")).expect("the file for POSTs");
    let addr = arguments.next().and_then(|addr| addr.parse().ok()).expect("an address");
    let backend = Backend::builder().at(addr).start(move |request| {
        if request.method == "POST" {
            writeln!(&posts, "{}", request.target).expect("a line more");
        }
        Reply::ok("from a process")
    });
    let backend = backend.await;
    println!("{}", backend.addr());
    std::future::pending::<()>().await;
}
