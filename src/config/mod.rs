//! Configuration: one table of keys feeds the parsers, `corelane config list`, DescribeConfigs and the docs.
