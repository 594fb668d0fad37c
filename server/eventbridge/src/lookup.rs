//! Looks resources up, and answers with the service's error if there is none.

use fakemon_aws::ApiError;
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Bus, Rule};

/// The bus of a name, or the service's error.
pub(crate) fn existing_bus<'r>(registry: &'r Registry, name: &str) -> Result<&'r Bus, ApiError> {
    registry.buses.get(name).ok_or_else(|| ApiError::missing(format!("Event bus {name} does not exist.")))
}

/// The rule of a name, or the service's error.
pub(crate) fn existing_rule<'r>(
    registry: &'r Registry,
    BusName(bus): BusName<'_>,
    RuleName(name): RuleName<'_>,
) -> Result<&'r Rule, ApiError> {
    let missing = || ApiError::missing(format!("Rule {name} does not exist on EventBus {bus}."));
    registry.rules.get(&(bus.to_owned(), name.to_owned())).ok_or_else(missing)
}
