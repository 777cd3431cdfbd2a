use std::path::Path;

use super::{HEALTHY, output};
use crate::status::{control::Client, event_line};

pub(super) fn events(socket: &Path, json: bool, follow: bool) -> anyhow::Result<u8> {
    let mut printed = Ok(());
    Client::connect(socket)?.events(follow, |event| {
        let line = if json { event.json } else { event_line(&event.value) };
        printed = output::print(&(line + "\n"));
        printed.is_ok()
    })?;
    printed?;
    Ok(HEALTHY)
}
