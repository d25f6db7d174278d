"""Commands about captures: hand one on in another's layout."""
