//! Where files differ, from a unified diff.

/// The first difference of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// The file.
    pub(super) file: String,
    /// The line of it, counted from 1.
    pub(super) line: u32,
    /// That line as it is.
    pub(super) text: String,
}

/// The first difference of each file in a unified diff whose sides are called `old/…` and `new/…`.
pub(super) fn first_differences(diff: &str) -> impl Iterator<Item = Difference> {
    let mut found: Vec<Difference> = Vec::new();
    let mut file: Option<String> = None;
    // The line of the old side that is next, and how many of both sides the hunk still has.
    let (mut line, mut old_left, mut new_left) = (0_u32, 0_u32, 0_u32);
    for text in diff.lines() {
        if old_left == 0 && new_left == 0 {
            if let Some(name) = text.strip_prefix("--- old/") {
                file = Some(name.to_owned());
            } else if let Some(hunk) = text.strip_prefix("@@ ").and_then(hunk) {
                (line, old_left, new_left) = hunk;
            }
            continue;
        }
        let (kind, rest) = text.split_at(text.len().min(1));
        if matches!(kind, "-" | "+")
            && let Some(file) = file.take()
        {
            found.push(Difference {
                file,
                line: line.max(1),
                text: rest.to_owned(),
            });
        }
        match kind {
            "-" => {
                old_left = old_left.saturating_sub(1);
                line = line.saturating_add(1);
            }
            "+" => new_left = new_left.saturating_sub(1),
            // `\ No newline at end of file` counts on no side.
            "\\" => {}
            _ => {
                old_left = old_left.saturating_sub(1);
                new_left = new_left.saturating_sub(1);
                line = line.saturating_add(1);
            }
        }
    }
    found.into_iter()
}

/// Where a hunk begins in the old file, and how many lines of the old and the new one it has:
/// `-4,8 +4,8 @@`.
fn hunk(text: &str) -> Option<(u32, u32, u32)> {
    let mut sides = text.split(' ');
    let side = |text: &str| -> Option<(u32, u32)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let (start, old) = side(sides.next()?.strip_prefix('-')?)?;
    let (_, new) = side(sides.next()?.strip_prefix('+')?)?;
    Some((start, old, new))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `terraform fmt -check -diff` 1.11.4 printed.
    const FMT: &str = r#"main.tf
--- old/main.tf
+++ new/main.tf
@@ -4,8 +4,8 @@
   }
 }
 resource "localfs_file" "x" {
-  path = "x.txt"
-    content = "a"
+  path    = "x.txt"
+  content = "a"
 }
 
 locals {
@@ -14,5 +14,5 @@
 
 
 output "longer" {
-value = 1
+  value = 1
 }
x.auto.tfvars
--- old/x.auto.tfvars
+++ new/x.auto.tfvars
@@ -1 +1 @@
-a=1
+a = 1
"#;

    fn places(diff: &str) -> Vec<(String, u32)> {
        first_differences(diff).map(|d| (d.file, d.line)).collect()
    }

    #[test]
    fn the_first_difference_of_each_file_has_its_line() {
        assert_eq!(
            places(FMT),
            [("main.tf".to_owned(), 7), ("x.auto.tfvars".to_owned(), 1)]
        );
        let first = first_differences(FMT).next().unwrap();
        assert_eq!(first.text, "  path = \"x.txt\"");
    }

    #[test]
    fn a_line_that_looks_like_a_heading_is_a_line() {
        let diff = "--- old/a.tf\n+++ new/a.tf\n@@ -1,2 +1,2 @@\n--- old/b.tf\n+- old\n x\n";
        assert_eq!(places(diff), [("a.tf".to_owned(), 1)]);
    }

    #[test]
    fn what_is_no_diff_has_no_difference() {
        assert!(places("").is_empty());
        assert!(places("@@ -x +y @@\n-a\n--- old/a\n").is_empty());
        assert!(places("--- old/a\n@@ -4294967295,4294967295 +1,9 @@\n").is_empty());
    }
}
