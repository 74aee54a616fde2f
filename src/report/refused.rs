//! Which hosts a run was kept from.

use super::words::plural;
use crate::run::Refused;

/// So many hosts are named in a sentence; the record has more.
const NAMED: usize = 8;

/// What to say of the hosts that `who`, "the plan" or "the merge", asked for and did not get; names
/// between backticks. `None` where there are none.
pub fn refused_note(who: &str, refused: &Refused) -> Option<String> {
    let count = refused.count();
    if count == 0 {
        return None;
    }
    let asked = format!(
        "{who} asked for {} that `network` does not allow",
        plural(count, "host")
    );
    let mut names: Vec<String> = refused
        .hosts
        .iter()
        .take(NAMED)
        .map(|host| match &host.why {
            Some(why) => format!("`{}` ({why})", host.asked),
            None => format!("`{}`", host.asked),
        })
        .collect();
    if names.is_empty() {
        return Some(format!("{asked}; the logs of the run name them"));
    }
    if count > names.len() {
        names.push(format!("and {} more", count - names.len()));
    }
    Some(format!("{asked}: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;

    #[test]
    fn the_hosts_are_counted_and_the_first_are_named() {
        assert_eq!(refused_note("the plan", &Refused::default()), None);
        let of = |names: &[&str]| {
            let asked = names.iter().map(|name| ((*name).to_owned(), None));
            refused_note("the plan", &Refused::new(asked, &Redactor::default())).unwrap()
        };
        assert_eq!(
            of(&["evil.example:443", "evil.example:443"]),
            "the plan asked for 1 host that `network` does not allow: `evil.example:443`"
        );
        let many: Vec<String> = (0..30)
            .map(|number| format!("h{number}.example:443"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let said = of(&many);
        assert!(said.starts_with("the plan asked for 30 hosts"), "{said}");
        assert!(said.ends_with("`h7.example:443`, and 22 more"), "{said}");
    }

    #[test]
    fn a_host_of_an_adopted_apply_is_counted_without_its_name() {
        let mut refused = Refused::default();
        refused.at_least(2);
        let said = refused_note("the merge", &refused).unwrap();
        assert!(said.contains("2 hosts") && said.contains("logs"), "{said}");
    }
}
