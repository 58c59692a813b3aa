//! An axum service that hashes passwords and parses uploads without stalling its event loop, and
//! survives what kills the parser.
//!
//! Run: `cargo run --release --example axum_offload`, then, in another terminal, what it prints.
//! You should see a digest, a count of lines, and for the third request status 500 with the reason,
//! after which the service goes on. Ctrl-C ends it.

use amphi::{App, Bytes, Ctx, Engine, Error, Job, Spec, TaskError};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::{Deserialize, Serialize};

amphi::app!(app);

fn app() -> App {
    App::new().function("stretch", stretch).job::<CountLines>()
}

/// Some 50 ms of a core: on the event loop it would hold up every other request.
fn stretch(password: String) -> Result<String, Error> {
    let mut digest = blake3::hash(password.as_bytes());
    for _ in 0..500_000 {
        digest = blake3::hash(digest.as_bytes());
    }
    Ok(digest.to_hex().to_string())
}

/// Stands for a parser that an upload can kill.
#[derive(Serialize, Deserialize)]
struct CountLines {
    upload: Bytes,
}

impl Job for CountLines {
    type Output = usize;
    type Error = Error;

    fn spec() -> Spec {
        Spec::new().isolated()
    }

    fn run(self, _cx: &Ctx) -> Result<usize, Error> {
        if self.upload.starts_with(b"\0") {
            std::process::abort();
        }
        Ok(std::str::from_utf8(&self.upload)?.lines().count())
    }
}

type Reply = Result<String, (StatusCode, String)>;

/// What the outcome of a task means to a client, said in one place.
fn reply<T: ToString>(outcome: Result<T, TaskError<Error>>) -> Reply {
    outcome.map(|output| format!("{}\n", output.to_string())).map_err(|error| {
        let status = match &error {
            TaskError::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            TaskError::Rejected(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, format!("{error}\n"))
    })
}

async fn hash(State(engine): State<Engine>, password: String) -> Reply {
    reply(engine.call(stretch, password).await)
}

async fn lines(State(engine): State<Engine>, upload: Bytes) -> Reply {
    match engine.try_submit(CountLines { upload }) {
        Ok(task) => reply(task.await),
        Err(rejected) => reply::<usize>(Err(TaskError::Rejected(rejected.reason))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = app().engine().start()?;
    let routes =
        Router::new().route("/hash", post(hash)).route("/lines", post(lines)).with_state(engine);
    let port = std::env::args().nth(1).unwrap_or_else(|| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let address = listener.local_addr()?;
    println!("curl -d 'correct horse' http://{address}/hash");
    println!("printf 'one\\ntwo\\n' | curl --data-binary @- http://{address}/lines");
    println!("printf '\\0' | curl --data-binary @- http://{address}/lines");
    axum::serve(listener, routes).with_graceful_shutdown(interrupted()).await?;
    Ok(())
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await; // without a handler the default ends the process
    }
}
