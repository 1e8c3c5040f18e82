package main

var doorFaults, clientFaults, hostFaults []fault
