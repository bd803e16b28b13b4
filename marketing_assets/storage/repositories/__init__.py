"""The only modules with queries against the serving database, one for each thing they are about."""
