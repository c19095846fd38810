//! Which kernel modules are loaded, in which order. Pure.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// The modules that `wanted` ones need, each after those that it depends on itself. A name that
/// `modules` does not know is built into the kernel; what it needs is, too.
///
/// `modules` are names, with `_` for `-`, and those they depend on.
pub(super) fn in_order<'a>(
    wanted: &[&'a str],
    modules: &'a BTreeMap<String, Vec<String>>,
) -> Vec<&'a str> {
    let mut order = Vec::new();
    // Depth first. Dependencies have no cycles: depmod(8) refuses them.
    let mut open: Vec<(&str, bool)> = wanted.iter().rev().map(|name| (*name, false)).collect();
    while let Some((name, ready)) = open.pop() {
        let Some(needed) = modules.get(name) else {
            continue;
        };
        if order.contains(&name) {
            continue;
        }
        if ready {
            order.push(name);
        } else {
            open.push((name, true));
            open.extend(needed.iter().rev().map(|needed| (needed.as_str(), false)));
        }
    }
    order
}

/// The modules that a `.ko` file depends on: `depends=a,b` in its section `.modinfo`, whose entries
/// end with a NUL (the kernel's `include/linux/module.h`, `MODULE_INFO`; `scripts/mod/modpost.c`).
pub(super) fn depends(module: &[u8]) -> Result<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let at = module
        .windows(KEY.len())
        .position(|window| window == KEY)
        .context("no depends= in it: is it a kernel module?")?;
    let list = module.get(at + KEY.len()..).unwrap_or_default();
    let end = list.iter().position(|byte| *byte == 0).unwrap_or(0);
    let list = String::from_utf8_lossy(list.get(..end).unwrap_or_default());
    let names = list.split(',').filter(|name| !name.is_empty());
    Ok(names.map(name).collect())
}

/// A module's name as the kernel compares it.
pub(super) fn name(stem: &str) -> String {
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let modules = BTreeMap::from([
            ("common".to_owned(), list(&[])),
            ("core".to_owned(), list(&["common"])),
            ("dwc2".to_owned(), list(&["core", "common", "builtin"])),
            ("ether".to_owned(), list(&["core", "usbnet"])),
            ("usbnet".to_owned(), list(&["core", "mii"])),
            ("mii".to_owned(), list(&[])),
            ("other".to_owned(), list(&[])),
        ]);
        assert_eq!(
            in_order(&["dwc2", "ether", "builtin"], &modules),
            ["common", "core", "dwc2", "mii", "usbnet", "ether"]
        );
    }

    #[test]
    fn dependencies_of_a_module() {
        let check = |text: &[u8], expect: &[&str]| {
            assert_eq!(depends(text).unwrap(), expect);
        };
        check(
            b"\x7fELF\0alias=x\0depends=usbcore,usb-common\0intree=Y\0",
            &["usbcore", "usb_common"],
        );
        check(b"\0depends=\0name=mii\0", &[]);
        assert!(depends(b"\x7fELF\0").is_err());
    }
}
