"""How to switch things on: flags, steps and files for the engines that the catalog knows."""
