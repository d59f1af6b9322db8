"""How fast the engine is: the plain loop, exact mode and fast mode in one run, beside what the machine allows."""
