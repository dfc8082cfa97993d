//! What the records mean: figures, tables, the report page. Reads records only.
