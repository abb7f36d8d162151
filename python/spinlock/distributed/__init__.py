"""Several processes that train one model: who takes part, who has which rows, what is sent."""
