//! What the agent's programs remember of victims, where it is pinned.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};

/// Bytes of a mark.
const MARK: usize = 32;

/// The numbers of the processes that are marked, of the map `MARKED` at `path`.
pub fn marks(path: &Path) -> Result<Vec<u32>> {
    let data = MapData::from_pin(path).with_context(|| format!("open {}", path.display()))?;
    let map: HashMap<MapData, u32, [u8; MARK]> = Map::LruHashMap(data).try_into()?;
    Ok(map.keys().filter_map(Result::ok).collect())
}
