//! A binary that forgot `amphi::app!`: it must be told so, and must not multiply.

#![forbid(unsafe_code)]

fn main() -> anyhow::Result<()> {
    let engine = outside::app().engine().start()?;
    println!("started {engine:?}");
    Ok(())
}
