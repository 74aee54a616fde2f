//! Sizes as people write them.

/// The units of a size with their bytes, largest first.
const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// A text was no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no size; write a whole number and `KiB`, `MiB`, `GiB` or `TiB`: `500MiB`")]
pub(super) struct InvalidSize(String);

/// Reads a size: `500MiB`, `2GiB`. Gives it in bytes.
pub(super) fn parse(given: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize(given.to_owned());
    let (number, bytes) = UNITS
        .iter()
        .find_map(|(unit, bytes)| given.strip_suffix(unit).map(|number| (number, *bytes)))
        .ok_or_else(invalid)?;
    let number = number.trim_end();
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid());
    }
    let count: u64 = number.parse().map_err(|_| invalid())?;
    count.checked_mul(bytes).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_a_unit() {
        assert_eq!(parse("2GiB"), Ok(2 << 30));
        assert_eq!(parse("500 MiB"), Ok(500 << 20));
        for wrong in ["", "2", "GiB", "-1GiB", "1.5GiB", "2GB", "99999999999TiB"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
