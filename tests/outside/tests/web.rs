//! An axum service with the engine as its state, asked over a real loopback connection.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use amphi::{Bytes, Engine, Placement, TaskError};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use outside::{Misbehave, Thumb, app, checksum};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

amphi::app!(outside::app);

const PATIENCE: Duration = Duration::from_secs(30);

type Reply<T> = Result<T, (StatusCode, String)>;

/// One place says what a failed task means to a client.
fn refuse<E: std::fmt::Display>(error: TaskError<E>) -> (StatusCode, String) {
    let status = match &error {
        TaskError::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
        TaskError::Rejected(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

async fn sum(State(engine): State<Engine>, text: String) -> Reply<String> {
    let sum = engine.call(checksum, text).await.map_err(refuse)?;
    Ok(sum.to_string())
}

async fn thumb(State(engine): State<Engine>, src: Bytes) -> Reply<Bytes> {
    let task = match engine.submit(Thumb { src, width: 4 }).await {
        Ok(task) => task,
        Err(rejected) => return Err((StatusCode::SERVICE_UNAVAILABLE, rejected.to_string())),
    };
    task.await.map_err(refuse)
}

async fn crash(State(engine): State<Engine>) -> Reply<()> {
    let task = engine.try_submit(Misbehave::Abort);
    let task = task.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    task.await.map_err(refuse)
}

async fn serve() -> SocketAddr {
    let engine = app().engine().place(Placement::Process).start().unwrap();
    let routes = Router::new()
        .route("/sum", post(sum))
        .route("/thumb", post(thumb))
        .route("/crash", get(crash))
        .with_state(engine);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

async fn ask(address: SocketAddr, request: &str, body: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: \
             text/plain\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    };
    let reply = timeout(PATIENCE, exchange).await.expect("a reply in time");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn a_service_answers_and_survives_a_crash() {
    let address = serve().await;
    assert_eq!(ask(address, "POST /sum", "ab").await, (200, "195".into()));
    assert_eq!(ask(address, "POST /thumb", "HAL 9000").await, (200, "IBM!".into()));

    let (status, text) = ask(address, "POST /sum", "").await;
    assert_eq!(status, 422, "{text}");
    let (status, text) = ask(address, "GET /crash", "").await;
    assert_eq!(status, 500);
    assert!(text.contains("SIGABRT"), "{text}");

    assert_eq!(ask(address, "POST /sum", "ab").await, (200, "195".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_served_while_others_crash_workers() {
    let address = serve().await;
    let clients = (0..32_u32).map(|number| {
        tokio::spawn(async move {
            match number % 8 {
                0 => assert_eq!(ask(address, "GET /crash", "").await.0, 500),
                _ => assert_eq!(ask(address, "POST /sum", "ab").await, (200, "195".into())),
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}
