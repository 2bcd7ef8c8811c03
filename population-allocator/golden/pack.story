# Pack fills one node before the next.
policy design=10 cap=12 minimum=2 islands=1 islands_max=1 seating=pack
node 1
node 2
node 3
wait 3000
join Ann
enter Ann 3
wait 1000
join Bo
enter Bo
join Cy
wait 1000
show
