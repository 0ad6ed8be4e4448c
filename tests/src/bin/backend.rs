//! A backend in a process of its own, to be killed. It prints its address and answers every request with 200.

use bowline_tests::backend::{Backend, Reply};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let backend = Backend::start(|_| Reply::ok("from a process")).await;
    println!("{}", backend.addr());
    std::future::pending::<()>().await;
}
