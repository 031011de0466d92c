"""Microsoft Partner Center referrals, window by window, as scored and explained leads."""
