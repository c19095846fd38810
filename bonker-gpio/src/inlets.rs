//! Where bonks and questions come in. Each inlet calls the [`App`](crate::app::App).

pub(crate) mod follow;
pub(crate) mod grpc;
mod watcher;
pub(crate) mod web;
