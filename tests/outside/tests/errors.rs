//! Each error of the engine goes through `?` into anyhow and comes back by its type.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::error::Error as StdError;

use amphi::{App, Ctx, Engine, Job, Placement, Reason, Rejected, StartError, TaskError};
use outside::{ByZero, Divide, app, checksum, parse};
use serde::{Deserialize, Serialize};

amphi::app!(outside::app);

/// A job that nobody registered.
#[derive(Debug, Serialize, Deserialize)]
struct Stranger;

impl Job for Stranger {
    type Output = ();
    type Error = amphi::Error;

    fn run(self, _cx: &Ctx) -> Result<(), amphi::Error> {
        Ok(())
    }
}

fn started(app: App, cores: usize) -> anyhow::Result<Engine> {
    Ok(app.engine().cores(cores).start()?)
}

fn divided(engine: &Engine, divisor: i64) -> anyhow::Result<i64> {
    Ok(engine.run(Divide { dividend: 1, divisor })?)
}

fn summed(engine: &Engine, text: &str) -> anyhow::Result<u64> {
    Ok(engine.call(checksum, text.to_owned()).join()?)
}

fn spawned(engine: &Engine) -> anyhow::Result<u8> {
    Ok(engine.spawn(|_cx| panic!("in a closure")).join()?)
}

fn submitted(engine: &Engine) -> anyhow::Result<()> {
    engine.try_submit(Stranger)?.join()?;
    Ok(())
}

#[test]
fn a_start_error_says_what_to_change() {
    let error = started(app(), 0).unwrap_err();
    assert!(error.downcast_ref::<StartError>().unwrap().is_setting());
    assert!(error.to_string().contains("1 to"), "{error}");

    let error = started(app().include(outside::jobs), 1).unwrap_err();
    assert!(error.downcast_ref::<StartError>().unwrap().is_app());
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn an_app_without_its_configuration_does_not_start() {
    let error = started(App::new().include(outside::jobs), 1).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("reading the settings") && text.contains("Settings"), "{text}");
}

#[test]
fn a_task_error_keeps_the_jobs_own() {
    let engine = started(app(), 1).unwrap();
    assert_eq!(divided(&engine, 1).unwrap(), 1);
    let error = divided(&engine, 0).unwrap_err();
    let error = error.downcast::<TaskError<ByZero>>().unwrap();
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(error.into_failed(), Some(ByZero));

    let error = summed(&engine, "").unwrap_err();
    match error.downcast::<TaskError<amphi::Error>>().unwrap() {
        TaskError::Failed(error) => assert!(error.to_string().contains("an empty text")),
        other => panic!("{other:?}"),
    }
    match spawned(&engine).unwrap_err().downcast::<TaskError<Infallible>>().unwrap() {
        TaskError::Panicked { message, .. } => assert_eq!(message, "in a closure"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rejection_gives_the_job_back_through_anyhow() {
    for place in [Placement::Thread, Placement::Process, Placement::Auto] {
        let engine = app().engine().place(place).start().unwrap();
        let error = submitted(&engine).unwrap_err();
        assert!(error.to_string().contains("Stranger"), "{error}");
        let Rejected { job: Stranger, reason, .. } = error.downcast().unwrap();
        assert!(matches!(reason, Reason::NotRegistered(_)), "{place}: {reason:?}");
    }
}

#[test]
fn a_jobs_question_mark_keeps_the_text_in_both_places() {
    for place in [Placement::Thread, Placement::Process] {
        let engine = app().engine().place(place).start().unwrap();
        assert_eq!(engine.call(parse, " 7 ".to_owned()).join(), Ok(7));
        let error: Box<dyn StdError + Send + Sync> =
            engine.call(parse, "seven".to_owned()).join().unwrap_err().into();
        assert_eq!(error.to_string(), "invalid digit found in string", "{place}");
    }
}
