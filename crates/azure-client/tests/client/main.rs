//! Tests the clients with test services: in process and in virtual time, and some over sockets.

#![allow(clippy::unwrap_used, missing_docs)]

mod batch;
mod blob_down;
mod blob_up;
#[allow(dead_code)]
#[path = "../../../azure-wire/tests/openapi/description.rs"]
mod description;
mod faults;
mod live;
mod pages;
mod secrets;
mod service;
