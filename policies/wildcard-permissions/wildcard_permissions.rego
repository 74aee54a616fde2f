# METADATA
# title: Nobody may do everything
# description: >-
#   A permission for everything is one stolen key away from losing everything.
# custom:
#   remedy: >-
#     Name the actions and the resources that are needed, or a role that has them.
#   owners: ["*"]
package wildcard_permissions

import data.lib.plan

deny contains finding if {
	some resource in plan.written
	some why in reasons(resource)
	finding := {"msg": sprintf("%s %s", [resource.address, why]), "address": resource.address}
}

default reasons(_) := set()

# Policies of AWS are JSON in a text, in one of these attributes.
reasons(resource) := {why |
	some attribute in ["policy", "assume_role_policy", "inline_policy"]
	document := json.unmarshal(resource.change.after[attribute])
	some statement in as_list(document.Statement)
	statement.Effect == "Allow"
	some why in too_much(statement)
} if {
	startswith(resource.type, "aws_")
	not attaches(resource)
}

reasons(resource) := {sprintf("attaches %s", [resource.change.after.policy_arn])} if {
	attaches(resource)
	some name in data.forbidden_aws_policies
	endswith(resource.change.after.policy_arn, concat("", ["/", name]))
}

reasons(resource) := {sprintf("gives the role %s", [resource.change.after.role_definition_name])} if {
	resource.type == "azurerm_role_assignment"
	resource.change.after.role_definition_name in data.forbidden_azure_roles
}

reasons(resource) := {"allows every action" |
	some permission in resource.change.after.permissions
	"*" in permission.actions
} if resource.type == "azurerm_role_definition"

reasons(resource) := {why |
	role := resource.change.after.role
	some why in google(role, resource.change.after)
} if regex.match(`^google_.*_iam_(member|binding)$`, resource.type)

google(role, _) := {sprintf("gives the role %s", [role])} if role in data.forbidden_google_roles

google(role, grant) := {sprintf("gives the role %s to %s", [role, who]) |
	some who in members(grant)
	who in {"allUsers", "allAuthenticatedUsers"}
} if not role in data.forbidden_google_roles

members(grant) := grant.members if is_array(grant.members)

members(grant) := [grant.member] if is_string(grant.member)

too_much(statement) := actions | principals if {
	actions := {"allows every action" |
		some action in as_list(object.get(statement, "Action", []))
		action in {"*", "*:*"}
	}
	principals := {"trusts everybody" |
		some who in everybody(statement)
		not statement.Condition
		who == "*"
	}
}

everybody(statement) := ["*"] if statement.Principal == "*"

everybody(statement) := as_list(statement.Principal.AWS) if is_object(statement.Principal)

attaches(resource) if resource.change.after.policy_arn

# In a policy of AWS one thing may stand without its list.
as_list(value) := value if is_array(value)

as_list(value) := [value] if not is_array(value)
