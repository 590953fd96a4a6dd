"""Who calls and what the way to the service protects: tokens, rates, certificates, addresses."""
