-- Whether the caller should queue a refill; false while one is on its way.
return refill_is_due() == '1' and 1 or 0
