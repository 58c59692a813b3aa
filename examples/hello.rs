//! The shortest program: one function, called in another process.
//!
//! Run: `cargo run --release --example hello`. You should see two different process ids.

amphi::app!(app);

fn app() -> amphi::App {
    amphi::App::new().function("greet", greet)
}

fn greet(name: String) -> Result<String, amphi::Error> {
    Ok(format!("hello {name}, from process {}", std::process::id()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = app().engine().place(amphi::Placement::Process).start()?;
    println!("{}", engine.call(greet, "world".to_string()).join()?);
    println!("the host is process {}", std::process::id());
    Ok(())
}
