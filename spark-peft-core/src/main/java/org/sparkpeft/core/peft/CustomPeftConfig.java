package org.sparkpeft.core.peft;

/** The door for methods defined outside this package; a plug-in's record implements it. */
public non-sealed interface CustomPeftConfig extends PeftConfig {}
