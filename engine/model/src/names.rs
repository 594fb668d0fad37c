//! Names that stand side by side, as types: where a function takes two of them, they cannot be exchanged. A name is
//! put into its type where a function asks for it; what is stored stays text.

macro_rules! names {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        $(
            $(#[$doc])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $name<'n>(pub &'n str);
        )+
    };
}
names! {
    /// A region of the service, as `eu-west-1`.
    Region,
    /// The name of a bus.
    BusName,
    /// The name of a rule, unique on its bus.
    RuleName,
    /// The id of a target, unique in its rule.
    TargetId,
    /// The name of a group of schedules.
    ScheduleGroupName,
    /// The name of a schedule, unique in its group.
    ScheduleName,
    /// The name of a registry of schemas.
    RegistryName,
    /// The name of a schema, unique in its registry.
    SchemaName,
    /// The name of a log group.
    LogGroupName,
    /// The name of a stream, unique in its log group.
    LogStreamName,
    /// What a receiver of a message got to settle it by.
    ReceiptHandle,
}
