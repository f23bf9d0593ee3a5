"""What Captum keeps under this name and its users import all the same; see `attrfunc.captum.private`."""
