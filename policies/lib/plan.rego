# What every policy may import: `import data.lib.plan`.
package lib.plan

# The managed resources of the plan, what does not change too.
managed := [resource |
	some resource in input.resource_changes
	resource.mode == "managed"
]

# What there will be: resources that are created, changed or replaced.
written := [resource |
	some resource in managed
	writes(resource)
]

# What will be gone: resources that are destroyed, or replaced by new ones.
lost := [resource |
	some resource in managed
	"delete" in resource.change.actions
]

# What changes in any way.
changed := [resource |
	some resource in managed
	not same(resource)
]

# Resources that the state has now.
existing := [resource |
	some resource in managed
	resource.change.actions != ["create"]
]

writes(resource) if "create" in resource.change.actions

writes(resource) if "update" in resource.change.actions

same(resource) if resource.change.actions == ["no-op"]

same(resource) if resource.change.actions == ["read"]

# Whether an attribute is known only after the apply.
unknown(resource, attribute) if resource.change.after_unknown[attribute] == true

# What a list of one block holds, as providers write nested blocks.
block(value) := value[0] if is_array(value)

block(value) := value if is_object(value)

# `replaced` or `destroyed`, for messages.
fate(resource) := "replaced" if "create" in resource.change.actions

fate(resource) := "destroyed" if not "create" in resource.change.actions
