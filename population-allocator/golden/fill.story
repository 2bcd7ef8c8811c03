# Three people are an island, five at most, two islands at most.
policy design=3 cap=5 minimum=1 islands=1 islands_max=2
node 1
node 2
wait 3000
join Ann
enter Ann
join Bo
enter Bo
join Cy
enter Cy
wait 1000
show
# The fourth finds the next island.
join Di
enter Di
join Ed
join Fi
wait 1000
# Both are full up to design and none may open: they fill up to the cap, the emptier first.
join Gus
join Hal
join Ivy
join Jo
join Kim
show
# Who has a seat is not in the way of itself.
join ann
join Ann 2
# Tickets that nobody used give their seats back.
wait 36000
show
join Kim
