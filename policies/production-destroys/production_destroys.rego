# METADATA
# title: Two people approve what production loses
# description: >-
#   Who destroys something of production has it read by others first.
# custom:
#   remedy: >-
#     Have the pull request approved by as many people who may write to the repository.
#   owners: ["*"]
package production_destroys

import data.lib.plan

require contains finding if {
	input.mainstay.environment in data.guarded_environments
	lost := count(plan.lost)
	lost > 0
	finding := {
		"msg": sprintf("%d resources of %s would be destroyed or replaced", [lost, input.mainstay.environment]),
		"approvals": data.approvals_needed,
	}
}
