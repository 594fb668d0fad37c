//! Rules: put, describe, list, enable, disable, delete.

use crate::lookup::{existing_bus, existing_rule};
use crate::tags;
use fakemon_aws::event_pattern::valid_pattern;
use fakemon_aws::request::{NAME, Request, object, paged};
use fakemon_aws::{ApiError, Call, Operation, Reply};
use fakemon_delivery::rule_arn;
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::limits::RULES_OF_BUS_MAX;
use fakemon_model::names::{BusName, Region, RuleName};
use fakemon_pattern::pattern::{Pattern, WEIGHT_MAX};
use fakemon_resource::resource::{Change, Resource, Rule, RuleState};
use fakemon_resource::{DEFAULT_BUS, Registry};
use fakemon_schedule::Expression;
use serde_json::{Value, json};

/// Rules of one bus, with the service.
const AWS_RULES_MAX: usize = 300;
const ENABLED_WITH_ALL: &str = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS";

pub(crate) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "PutRule" => put,
        "DescribeRule" => describe,
        "ListRules" => list,
        "ListRuleNamesByTarget" => list_names_by_target,
        "EnableRule" => |registry, request, _| switch(registry, request, RuleState::Enabled),
        "DisableRule" => |registry, request, _| switch(registry, request, RuleState::Disabled),
        "DeleteRule" => delete,
        _ => return None,
    })
}

fn put(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.name("Name", NAME, 64);
    let state = request.one_of("State", &["ENABLED", "DISABLED", ENABLED_WITH_ALL]);
    let description = request.short("Description", 512);
    let bus = request.bus("EventBusName");
    request.check()?;
    existing_bus(registry, &bus)?;
    let pattern = request.text("EventPattern").filter(|pattern| !pattern.is_empty());
    let schedule = request.text("ScheduleExpression").filter(|schedule| !schedule.is_empty());
    if pattern.is_none() && schedule.is_none() {
        return Err(ApiError::invalid("Parameter(s) EventPattern or ScheduleExpression must be specified."));
    }
    if let Some(schedule) = schedule {
        if bus != DEFAULT_BUS {
            return Err(ApiError::invalid("ScheduleExpression is supported only on the default event bus."));
        }
        Expression::parse_of_rule(schedule)
            .map_err(|_| ApiError::invalid("Parameter ScheduleExpression is not valid."))?;
    }
    let weight = pattern.map(valid_pattern).transpose()?.map_or(0, |pattern| pattern.weight());
    if weight >= HEAVY {
        check_together(registry, BusName(&bus), RuleName(name), weight)?;
    }
    let before = registry.rules.get(&(bus.clone(), name.to_owned()));
    let most = if call.settings.aws_limits { AWS_RULES_MAX } else { RULES_OF_BUS_MAX };
    if before.is_none() && registry.rules_of(&bus).count() >= most {
        return Err(ApiError::new(
            "LimitExceededException",
            "The requested resource exceeds the maximum number allowed.",
        ));
    }
    let state = match state {
        None | Some("ENABLED") => RuleState::Enabled,
        Some("DISABLED") => RuleState::Disabled,
        Some(_) => RuleState::EnabledWithAll,
    };
    let rule = Rule {
        bus: bus.clone(),
        name: name.into(),
        pattern: pattern.map(str::to_owned),
        schedule: schedule.map(str::to_owned),
        state,
        description,
        role_arn: request.text("RoleArn").map(str::to_owned),
        region: call.region.into(),
        created_at: before.map_or(call.now, |before| before.created_at),
        // Tags count only when a rule is created; later ones come by `TagResource`.
        tags: before.map_or_else(|| tags::given(request), |before| Ok(before.tags.clone()))?,
    };
    let answer = json!({ "RuleArn": rule_arn(Region(call.region), BusName(&bus), RuleName(name)) });
    Ok(Reply::with(answer, vec![Change::Put(Resource::Rule(rule))]))
}

/// Patterns that are lighter than this are not too much together, however many rules a bus may have.
const HEAVY: usize = WEIGHT_MAX / RULES_OF_BUS_MAX;

fn check_together(
    registry: &Registry,
    BusName(bus): BusName<'_>,
    RuleName(name): RuleName<'_>,
    weight: usize,
) -> Result<(), ApiError> {
    let others = registry.rules_of(bus).filter(|rule| rule.name != name);
    let weight_of = |pattern: &str| Pattern::parse(pattern).map_or(0, |pattern| pattern.weight());
    let together: usize = others.filter_map(|rule| rule.pattern.as_deref()).map(weight_of).sum();
    if together + weight <= WEIGHT_MAX {
        return Ok(());
    }
    let message = format!(
        "Event pattern is not valid. Reason: the rules of {bus} are too complex together: they have {} conditions, counted \
         for each alternative of `$or`, and may have {WEIGHT_MAX}",
        together + weight
    );
    Err(ApiError::new("InvalidEventPatternException", message))
}

fn shown(rule: &Rule, call: &Call<'_>) -> Value {
    let state = serde_json::to_value(rule.state).expect("a word");
    object([
        ("Name", Some(rule.name.clone().into())),
        ("Arn", Some(rule_arn(Region(call.region), BusName(&rule.bus), RuleName(&rule.name)).into())),
        ("EventPattern", rule.pattern.clone().map(Into::into)),
        ("ScheduleExpression", rule.schedule.clone().map(Into::into)),
        ("State", Some(state)),
        ("Description", rule.description.clone().map(Into::into)),
        ("RoleArn", rule.role_arn.clone().map(Into::into)),
        ("EventBusName", Some(rule.bus.clone().into())),
    ])
}

fn describe(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, bus) = (request.name("Name", NAME, 64), request.bus("EventBusName"));
    request.check()?;
    existing_bus(registry, &bus)?;
    let mut shown = shown(existing_rule(registry, BusName(&bus), RuleName(name))?, call);
    shown["CreatedBy"] = ACCOUNT.into();
    Ok(Reply::of(shown))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (prefix, bus) = (request.text("NamePrefix").unwrap_or_default(), request.bus("EventBusName"));
    request.check()?;
    existing_bus(registry, &bus)?;
    let rules = registry.rules_of(&bus).filter(|rule| rule.name.starts_with(prefix));
    let (page, next) = request.page("Rules", rules.map(|rule| (rule.name.clone(), shown(rule, call))))?;
    Ok(Reply::of(paged("Rules", page, next)))
}

fn list_names_by_target(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (arn, bus) = (request.required("TargetArn"), request.bus("EventBusName"));
    request.check()?;
    existing_bus(registry, &bus)?;
    let feeds =
        |rule: &&Rule| registry.targets_of(BusName(&bus), RuleName(&rule.name)).any(|target| target.arn == arn);
    let names = registry.rules_of(&bus).filter(feeds).map(|rule| (rule.name.clone(), rule.name.clone().into()));
    let (page, next) = request.page("RuleNames", names)?;
    Ok(Reply::of(paged("RuleNames", page, next)))
}

fn switch(registry: &Registry, request: &Request<'_>, state: RuleState) -> Result<Reply, ApiError> {
    let (name, bus) = (request.name("Name", NAME, 64), request.bus("EventBusName"));
    request.check()?;
    existing_bus(registry, &bus)?;
    let rule = Rule { state, ..existing_rule(registry, BusName(&bus), RuleName(name))?.clone() };
    Ok(Reply::with(json!({}), vec![Change::Put(Resource::Rule(rule))]))
}

fn delete(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let (name, bus) = (request.name("Name", NAME, 64), request.bus("EventBusName"));
    request.check()?;
    existing_bus(registry, &bus)?;
    if registry.targets_of(BusName(&bus), RuleName(name)).next().is_some() {
        return Err(ApiError::invalid("Rule can't be deleted since it has targets."));
    }
    let known = registry.rules.contains_key(&(bus.clone(), name.to_owned()));
    let changes = known.then(|| Change::Delete(format!("rule/{bus}/{name}")));
    Ok(Reply::with(json!({}), changes.into_iter().collect()))
}
