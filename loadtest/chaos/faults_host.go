package main

var hostFaults []fault
