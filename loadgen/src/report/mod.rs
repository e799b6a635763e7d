//! What is said about a trial, a session or several sessions. `model` holds what is said; each format has a renderer of
//! its own: `text` for terminals, `markdown`, `html`, `csv` and `github_action`. Nothing is measured or judged
//! here.

mod csv;
mod files;
#[cfg(test)]
mod fixture;
mod github_action;
mod html;
mod layout;
mod markdown;
mod model;
mod pictures;
mod session;
mod sessions;
mod text;
mod trial;
mod words;

pub(crate) use self::{
    files::{render, render_into, render_sessions, render_sessions_csv, render_trend},
    trial::trial,
    words::reasons::sentence as reason,
};
