//! The admin port of every role: liveness, readiness, metrics, state, page. It only shows; nothing can be changed
//! through it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::task::JoinHandle;

use crate::audit::complete;
use crate::config::probe;
use crate::desk::{Desk, NoAnswer};
use crate::failure::Failure;
use crate::inspect::{self, Asked, Unanswered};
use crate::limits::UPKEEP_EVERY;

/// What a role shows.
pub(crate) trait Observed: Send + Sync {
    /// What it still waits for before it serves all that it was started for.
    fn waits_for(&self) -> Option<String>;

    /// From now on it is ready as long as somebody can play.
    fn note_ready(&self);

    /// Why nobody can play right now, if so.
    fn unready(&self) -> Option<String>;

    /// The state for `/api/state`, as JSON; `None` before there is any.
    fn state(&self) -> Option<String>;

    /// Where audits and inspections are asked; `None` where there are none.
    fn desk(&self) -> Option<&Desk> {
        None
    }

    /// Brings the metrics up to date.
    fn measure(&self);
}

/// A running admin port; ends when dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Admin {
    /// Opens the port and serves.
    pub(crate) async fn open(
        listen: SocketAddr,
        observed: Arc<dyn Observed>,
        prometheus: PrometheusHandle,
    ) -> Result<Self, Failure> {
        let refused = |error: std::io::Error| Failure::setup(probe::refused("http", listen, &error));
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let shown = Shown { observed, prometheus: prometheus.clone() };
        let routes = router(shown);
        let serve = async move {
            let upkeep = async {
                let mut due = tokio::time::interval(UPKEEP_EVERY);
                loop {
                    due.tick().await;
                    prometheus.run_upkeep();
                }
            };
            tokio::select! {
                ended = axum::serve(listener, routes) => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the admin port ended");
                    }
                }
                () = upkeep => {}
            }
        };
        Ok(Self { address, task: tokio::spawn(serve) })
    }

    /// The page, as a browser on this machine finds it.
    pub(crate) fn page(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            let loopback =
                if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        format!("http://{address}/")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Shown {
    observed: Arc<dyn Observed>,
    prometheus: PrometheusHandle,
}

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/livez", get(async || text(StatusCode::OK, "alive".to_owned())))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/state", get(state))
        .route("/api/audit", get(audit))
        .route("/api/inspect", get(inspect))
        .merge(dashboard::router())
        .fallback(async || text(StatusCode::NOT_FOUND, "there is no such page".to_owned()))
        .with_state(shown)
}

fn text(status: StatusCode, line: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, line + "\n").into_response()
}

async fn readyz(State(shown): State<Shown>) -> Response {
    match shown.observed.unready() {
        None => text(StatusCode::OK, "ready".to_owned()),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}")),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    shown.observed.measure();
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, shown.prometheus.render()).into_response()
}

async fn state(State(shown): State<Shown>) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match shown.observed.state() {
        Some(state) => (headers, state).into_response(),
        None => {
            let why = shown.observed.unready().unwrap_or_else(|| "starting".to_owned());
            (StatusCode::SERVICE_UNAVAILABLE, headers, serde_json::json!({ "starting": why }).to_string())
                .into_response()
        }
    }
}

async fn audit(State(shown): State<Shown>) -> Response {
    let Some(desk) = shown.observed.desk() else {
        return text(StatusCode::NOT_FOUND, "audits are made by the allocator".to_owned());
    };
    let audited = desk.ask(async move |world| {
        complete::audit(&world.store, world.ledger.as_deref(), &world.archives).await
    });
    match audited.await {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(why) => no_answer(why),
    }
}

async fn inspect(State(shown): State<Shown>, Query(asked): Query<Asked>) -> Response {
    let Some(desk) = shown.observed.desk() else {
        return text(StatusCode::NOT_FOUND, "questions are answered by the allocator".to_owned());
    };
    let answered = desk.ask(async move |world| inspect::answer(&world.store, &asked).await);
    match answered.await {
        Ok(Ok(answer)) => json(StatusCode::OK, &answer),
        Ok(Err(error @ Unanswered::NotFound(_))) => text(StatusCode::NOT_FOUND, error.to_string()),
        Ok(Err(error @ Unanswered::Wrong(_))) => text(StatusCode::BAD_REQUEST, error.to_string()),
        Ok(Err(error @ Unanswered::Store(_))) => text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
        Err(why) => no_answer(why),
    }
}

fn no_answer(why: NoAnswer) -> Response {
    match why {
        NoAnswer::Closed => text(StatusCode::SERVICE_UNAVAILABLE, "the store is not open".to_owned()),
        NoAnswer::Busy => {
            text(StatusCode::TOO_MANY_REQUESTS, "others are asking; try again later".to_owned())
        }
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    match serde_json::to_string(value) {
        Ok(body) => (status, headers, body).into_response(),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("writing the answer: {error}")),
    }
}

/// The recorder that all metrics of the process go to.
pub(crate) fn install_recorder() -> Result<PrometheusHandle, Failure> {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
        .upkeep_timeout(Duration::from_secs(60))
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| Failure::run(format!("metrics: {error}")))?;
    Ok(handle)
}
