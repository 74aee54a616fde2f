# METADATA
# title: Providers and modules have versions
# description: >-
#   What has no version is another thing tomorrow, and a branch of a module is whatever its author
#   pushes next.
# custom:
#   remedy: >-
#     Give providers a `version` in `required_providers`, modules of a registry a `version`, and modules of
#     git a `?ref=` with a tag or a commit.
#   owners: ["*"]
package pinned_versions

deny contains msg if {
	some provider in input.configuration.provider_config
	not provider.version_constraint
	not builtin(provider)
	# A module that is called is given the provider of its caller.
	not provider.module_address
	msg := sprintf("the provider %s has no version", [provider.name])
}

deny contains msg if {
	some call in calls
	registry(call.source)
	not call.version
	msg := sprintf("the module %s (%s) has no version", [call.name, call.source])
}

deny contains msg if {
	some call in calls
	git(call.source)
	not reference(call.source)
	msg := sprintf("the module %s (%s) names no tag or commit", [call.name, call.source])
}

deny contains msg if {
	some call in calls
	git(call.source)
	reference(call.source) in data.moving_references
	msg := sprintf("the module %s follows the branch %s", [call.name, reference(call.source)])
}

calls := [call |
	walk(input.configuration, [path, value])
	path[count(path) - 2] == "module_calls"
	call := {
		"name": path[count(path) - 1],
		"source": value.source,
		"version": object.get(value, "version_constraint", false),
	}
]

builtin(provider) if startswith(object.get(provider, "full_name", ""), "terraform.io/builtin/")

builtin(provider) if provider.full_name in data.unpinned_providers

local(source) if regex.match(`^\.{1,2}/`, source)

git(source) if startswith(source, "git::")

git(source) if startswith(source, "git@")

git(source) if regex.match(`^(github\.com|bitbucket\.org)/`, source)

# NAMESPACE/NAME/PROVIDER, with a host before it or without.
registry(source) if {
	not local(source)
	not git(source)
	regex.match(`^([^/:?]+/)?[^/:?]+/[^/:?]+/[^/:?]+(//.*)?$`, source)
}

reference(source) := found[1] if {
	some found in regex.find_all_string_submatch_n(`[?&]ref=([^&]+)`, source, 1)
}
