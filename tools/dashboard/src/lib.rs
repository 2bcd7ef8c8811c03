//! The ops page: three embedded files and the routes that serve them.
//!
//! The admin port of `atoll` merges [`router`] into its own. The page asks `GET /api/state` of the same address
//! once a second and draws what it says; it loads nothing from anywhere else, and nothing here knows a cluster.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use axum::routing::get;

/// The page itself.
pub const PAGE_HTML: &str = include_str!("../assets/page.html");
/// How it looks.
pub const PAGE_CSS: &str = include_str!("../assets/page.css");
/// What keeps it up to date.
pub const PAGE_JS: &str = include_str!("../assets/page.js");
/// Its icon.
pub const ICON_SVG: &str = include_str!("../assets/icon.svg");

/// The page may use its own files and its own server, nothing else; no other site may frame it.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes of the page: `/` and its files.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", PAGE_HTML)))
        .route("/page.css", get(async || asset("text/css; charset=utf-8", PAGE_CSS)))
        .route("/page.js", get(async || asset("text/javascript; charset=utf-8", PAGE_JS)))
        .route("/icon.svg", get(async || asset("image/svg+xml", ICON_SVG)))
}

/// Asked for again at each visit, so that a page never outlives the server's version.
fn asset(content_type: &'static str, body: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_but_its_own_files() {
        for (name, text) in [("page.html", PAGE_HTML), ("page.css", PAGE_CSS), ("page.js", PAGE_JS)] {
            // The SVG namespace is a name, never fetched.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for outside in ["http://", "https://", "//cdn", "@import", "<style", "style=\""] {
                assert!(!text.contains(outside), "{name} contains {outside}");
            }
        }
        for file in ["page.css", "page.js", "icon.svg"] {
            assert!(PAGE_HTML.contains(&format!("\"{file}\"")), "the page names {file}");
        }
    }
}
