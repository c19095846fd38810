//! Writes a calibration into the settings file and changes nothing else there.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use service::file::read_text_bounded;
use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, TomlError, Value};

use crate::args::MAX_FILE_BYTES;
use crate::motion::Calibration;
use crate::text::escape_path;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("cannot read the settings file {path}")]
    Read { path: String, source: io::Error },
    #[error("the settings file {path} is no TOML")]
    Syntax {
        path: String,
        source: Box<TomlError>,
    },
    #[error(
        "cannot write the settings file {path}, which is as it was: may this user write in its directory?"
    )]
    Write { path: String, source: io::Error },
}

/// Whether [`save`] is likely to succeed, before the user walks the servo to its limits.
pub(super) fn check_writable(path: &Path) -> Result<(), SaveError> {
    let (target, _) = read(path)?;
    // Gone when it is dropped.
    let begun = create_replacement(&target).map(drop);
    begun.map_err(|source| write_error(path, source))
}

/// Sets the four pulses in the file at `path` and keeps all else, comments too; makes the
/// file if there is none. A power cut leaves the old one or the new one.
pub(super) fn save(path: &Path, calibration: Calibration) -> Result<(), SaveError> {
    let (target, text) = read(path)?;
    let mut settings: DocumentMut = text.parse().map_err(|source| SaveError::Syntax {
        path: escape_path(path),
        source: Box::new(source),
    })?;
    for (flag, pulse_us) in [
        ("min-us", calibration.min_us),
        ("max-us", calibration.max_us),
        ("rest-us", calibration.rest_us),
        ("strike-us", calibration.strike_us),
    ] {
        set(&mut settings, flag, pulse_us);
    }
    replace(&target, &settings.to_string()).map_err(|source| write_error(path, source))
}

fn write_error(path: &Path, source: io::Error) -> SaveError {
    let path = escape_path(path);
    SaveError::Write { path, source }
}

/// The file behind any links, and its text; nothing is in one that is not there.
fn read(path: &Path) -> Result<(PathBuf, String), SaveError> {
    let text = read_text_bounded(path, MAX_FILE_BYTES);
    match text.and_then(|text| Ok((path.canonicalize()?, text))) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok((path.to_owned(), String::new())),
        read => read.map_err(|source| {
            let path = escape_path(path);
            SaveError::Read { path, source }
        }),
    }
}

/// Under the spelling that is there, with the comment that is there.
fn set(settings: &mut DocumentMut, flag: &str, pulse_us: u16) {
    let other = flag.replace('-', "_");
    let key = if settings.contains_key(&other) {
        other.as_str()
    } else {
        flag
    };
    let mut value = Value::from(i64::from(pulse_us));
    if let Some(Item::Value(old)) = settings.get_mut(key) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
    } else {
        settings.insert(key, Item::Value(value));
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut file = create_replacement(path)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name is on the disk, too.
    File::open(directory(path))?.sync_all()
}

fn directory(path: &Path) -> &Path {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.unwrap_or(Path::new("."))
}

/// A temporary file beside it, with its owner and mode.
fn create_replacement(path: &Path) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(".bonker-gpio-")
        .tempfile_in(directory(path))?;
    if let Ok(old) = fs::metadata(path) {
        file.as_file().set_permissions(old.permissions())?;
        fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
    } else {
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{SaveError, check_writable, save};
    use crate::motion::Calibration;

    const MADE: Calibration = Calibration {
        min_us: 900,
        max_us: 2100,
        rest_us: 950,
        strike_us: 1800,
    };

    #[test]
    fn comments_order_spelling_and_mode_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("real.toml");
        let text = "# the desk\nlisten = '127.0.0.1:1' # here\nrest_us = 1200 # up\n\n\
                    # the linkage\nmax-us=1900\n";
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("b.toml");
        symlink(&path, &link).unwrap();
        save(&link, MADE).unwrap();
        let expect = "# the desk\nlisten = '127.0.0.1:1' # here\nrest_us = 950 # up\n\n\
                      # the linkage\nmax-us=2100\nmin-us = 900\nstrike-us = 1800\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expect);
        assert!(link.is_symlink());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Nothing else is left behind.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_not_there_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.toml");
        save(&path, MADE).unwrap();
        let expect = "min-us = 900\nmax-us = 2100\nrest-us = 950\nstrike-us = 1800\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expect);
    }

    #[test]
    fn a_failed_save_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.toml");
        fs::write(&path, "rest-us = =").unwrap();
        let why = save(&path, MADE).unwrap_err();
        assert!(matches!(why, SaveError::Syntax { .. }), "{why}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "rest-us = =");
        check_writable(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let gone = dir.path().join("nowhere/b.toml");
        let why = check_writable(&gone).unwrap_err();
        assert!(matches!(why, SaveError::Write { .. }), "{why}");
        let why = save(&gone, MADE).unwrap_err();
        assert!(matches!(why, SaveError::Write { .. }), "{why}");
    }
}
