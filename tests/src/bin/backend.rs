//! A backend in a process of its own, to be killed or stopped. It prints its address and answers every request with 200.
//! The targets of POSTs are appended to the file that its argument names, before they are answered: they are read there
//! even when the process is no more.

use std::fs::File;
use std::io::Write as _;

use bowline_tests::backend::{Backend, Reply};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let posts = std::env::args_os().nth(1).map(|path| File::create(path).expect("a file for POSTs"));
    let backend = Backend::start(move |request| {
        if let (Some(mut posts), "POST") = (posts.as_ref(), request.method.as_str()) {
            writeln!(posts, "{}", request.target).expect("a line more");
        }
        Reply::ok("from a process")
    })
    .await;
    println!("{}", backend.addr());
    std::future::pending::<()>().await;
}
