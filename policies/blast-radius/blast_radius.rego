# METADATA
# title: A change is small enough to be looked at
# description: >-
#   A plan that destroys or changes a great part of a workspace is more often a mistake than a wish: a
#   renamed key, a moved module, an empty list.
# custom:
#   remedy: >-
#     Split the change, or write `moved` blocks for what was renamed. Where it is meant, override this policy
#     with the reason.
#   owners: ["*"]
package blast_radius

import data.lib.plan

lost := count(plan.lost)

changed := count(plan.changed)

existing := count(plan.existing)

deny contains msg if {
	lost > data.most_lost
	msg := sprintf("%d resources would be destroyed or replaced, and %d are allowed at once", [lost, data.most_lost])
}

deny contains msg if {
	existing >= data.share_counts_from
	share := (lost * 100) / existing
	share > data.most_lost_percent
	msg := sprintf("%d of %d resources would be destroyed or replaced, more than %d %%", [lost, existing, data.most_lost_percent])
}

warn contains msg if {
	changed > data.many_changes
	msg := sprintf("%d resources change at once", [changed])
}
