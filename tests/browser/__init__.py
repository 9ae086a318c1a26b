"A package, so that its conftest stands beside tests/conftest.py instead of hiding it"
