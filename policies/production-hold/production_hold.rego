# METADATA
# title: Production waits for a person
# description: >-
#   What is merged to production is applied when somebody is there to watch it.
# custom:
#   remedy: >-
#     Comment `mainstay apply` when somebody watches.
#   owners: ["*"]
package production_hold

import data.lib.plan

hold contains msg if {
	input.mainstay.environment in data.watched_environments
	changes := count(plan.changed)
	changes > 0
	msg := sprintf("changes in %s: %d", [input.mainstay.environment, changes])
}
