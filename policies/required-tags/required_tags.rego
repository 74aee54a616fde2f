# METADATA
# title: Resources are tagged
# description: >-
#   Without an owner and a cost centre on it nobody knows whom to ask about a resource, or who pays.
# custom:
#   remedy: >-
#     Set the tags on the resource, or once for all of them: `default_tags` of the AWS provider,
#     `default_labels` of the Google provider.
#   owners: ["*"]
package required_tags

import data.lib.plan

# Where providers keep tags: AWS and Azure, AWS with defaults, Google, Google with defaults.
places := ["tags", "tags_all", "labels", "terraform_labels", "effective_labels"]

deny contains finding if {
	some resource in plan.written
	taggable(resource)
	not resource.type in data.untagged_types
	missing := [tag | some tag in data.needed_tags; not has(resource, tag)]
	count(missing) > 0
	finding := {
		"msg": sprintf("%s has no %s", [resource.address, concat(", ", missing)]),
		"address": resource.address,
	}
}

taggable(resource) if {
	some prefix in data.tagged_providers
	startswith(resource.type, prefix)
	some place in ["tags", "labels"]
	place in object.keys(resource.change.after)
}

has(resource, tag) if {
	some place in places
	value := resource.change.after[place][tag]
	value != ""
}

# A tag whose value, or a map of tags that is known only after the apply cannot be missed yet.
has(resource, tag) if {
	some place in places
	resource.change.after_unknown[place][tag] == true
}

has(resource, _) if {
	some place in ["tags", "labels"]
	plan.unknown(resource, place)
}
