"""The calls of the client, by what they are about; `ridgeline.client.Client` has all of them."""
