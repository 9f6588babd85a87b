package pgtest

// FaultsOf plans statements on the schema.
var FaultsOf = faultsOf
