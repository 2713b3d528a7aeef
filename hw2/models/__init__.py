"""Networks: the digit UNet, the judge, and the moving average of weights."""
