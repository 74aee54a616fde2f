# METADATA
# title: Data is not destroyed
# description: >-
#   A database or a bucket that is destroyed takes its data with it, and no revert brings that back.
# custom:
#   remedy: >-
#     Keep the resource. To let it go, take it out of the state with a `removed` block, or override this policy
#     with the reason.
#   owners: ["*"]
package keep_data

import data.lib.plan

deny contains finding if {
	some resource in plan.lost
	resource.type in data.data_bearing_types
	not resource.address in data.data_may_be_lost
	finding := {
		"msg": sprintf("%s would be %s, with the data in it", [resource.address, plan.fate(resource)]),
		"address": resource.address,
	}
}
