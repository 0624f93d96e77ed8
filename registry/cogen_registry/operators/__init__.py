"""What operators decide and everybody can see: the audit log, take-downs, names, reports, trusted publishers."""
