//! The demo's world, a folder of files, as it is listed.

use std::path::Path;

use super::DemoError;

/// The files below `folder`, each with the beginning of its content.
pub(super) fn listing(folder: &Path) -> Result<String, DemoError> {
    let mut lines = Vec::new();
    list(folder, folder, &mut lines)?;
    lines.sort();
    Ok(lines.join("\n"))
}

fn list(top: &Path, folder: &Path, lines: &mut Vec<String>) -> Result<(), DemoError> {
    /// So much of a file's content is shown, in characters.
    const SHOWN: usize = 48;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| DemoError::File { path, source }
    };
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.is_dir() {
            list(top, &path, lines)?;
            continue;
        }
        let content = std::fs::read_to_string(&path).map_err(failed(&path))?;
        let flat = content.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut shown: String = flat.chars().take(SHOWN).collect();
        if flat.chars().count() > SHOWN {
            shown.push('…');
        }
        let name = path
            .strip_prefix(top)
            .unwrap_or(&path)
            .display()
            .to_string();
        lines.push(format!("{name:<28} {shown}"));
    }
    Ok(())
}
